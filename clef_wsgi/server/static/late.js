// The site has not heard of the last logout: asks until it has, and then goes on to the question. Presses nothing.

const SOONEST = 1000;
const LATEST = 5000;
const card = document.getElementById("late");
let wait = SOONEST;

setTimeout(look, wait);

async function look() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", look, {once: true});
    return;
  }
  if (await hasHeard()) {
    location.replace(card.dataset.next);
    return;
  }
  wait = Math.min(wait * 1.4, LATEST);
  setTimeout(look, wait);
}

async function hasHeard() {
  try {
    const answer = await fetch(card.dataset.ask, {headers: {Accept: "application/json"}});
    if (answer.ok) { return (await answer.json()).heard; }
  } catch { /* the network: the next time */ }
  wait = LATEST;
  return false;
}
