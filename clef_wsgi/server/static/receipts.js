// The page after a logout: asks how far the sites are until all have spoken, less often while nothing happens.

import {localise} from "./moments.js";

const SOONEST = 400;
const LATEST = 5000;
const card = document.getElementById("receipts");
let wait = SOONEST;

localise(document);
document.getElementById("reload").hidden = true;
setTimeout(look, wait);

async function look() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", look, {once: true});
    return;
  }
  const found = await ask();
  if (!found) { return; }
  wait = show(found) ? SOONEST : Math.min(wait * 1.4, LATEST);
  document.getElementById("busy").hidden = found.done;
  if (!found.done) { setTimeout(look, wait); }
}

/** How far the sites are; nothing once the hour is over; what is on the page, while the server can't be reached. */
async function ask() {
  try {
    const answer = await fetch("/receipts/states", {headers: {Accept: "application/json"}});
    if (answer.ok) { return await answer.json(); }
    if (answer.status === 404) { return null; }
  } catch { /* the network: the next time */ }
  wait = LATEST;
  return {lines: [], done: false};
}

/** Whether a site is at another point than before. What is at another point is said to screen readers. */
function show(found) {
  const news = found.lines.filter(showLine).map((line) => `${line.name}: ${line.words}`);
  if (found.title) {
    write(document.getElementById("title"), found.title);
    write(document.getElementById("summary"), found.summary);
    document.title = document.title.replace(/^.*(?= · )/, () => found.title);
    const marks = found.lines.map((line) => line.mark);
    card.dataset.mark = found.done ? (marks.includes("bad") ? "bad" : "done") : "busy";
  }
  if (news.length) { document.getElementById("news").textContent = news.join(". "); }
  return news.length > 0;
}

function showLine(line) {
  const row = [...card.querySelectorAll("[data-site]")].find((each) => each.dataset.site === line.site);
  if (!row) { return false; }
  const why = row.querySelector(".why");
  const before = row.dataset.mark + (why.firstChild?.textContent ?? "").trim();
  row.dataset.mark = line.mark;
  write(row.querySelector(".words"), line.words);
  why.textContent = line.since ? `${line.why} ` : line.why;
  if (line.since) {
    const time = document.createElement("time");
    time.dateTime = line.since;
    why.append(time);
    localise(why);
  }
  return before !== line.mark + line.why;
}

/** Leaves alone what stays as it is, so that it is not read out again. */
function write(element, text) {
  if (element.textContent !== text) { element.textContent = text; }
}
