// Moments, by the clock on the visitor's wall.

const page = document.documentElement.lang;
const language = navigator.languages.find((each) => each.split("-")[0] === page) ?? page;
const clock = new Intl.DateTimeFormat(language, {hour: "numeric", minute: "2-digit"});
const whole = new Intl.DateTimeFormat(language, {dateStyle: "medium", timeStyle: "short"});

/** Says what every <time> within an element means here; of today, the hour alone. */
export function localise(root) {
  for (const each of root.querySelectorAll("time")) { each.textContent = local(each.dateTime); }
}

function local(moment) {
  const date = new Date(moment);
  return (date.toDateString() === new Date().toDateString() ? clock : whole).format(date);
}
