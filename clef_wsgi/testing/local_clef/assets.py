"""The style sheet of the pages, and the script that draws the login button on a site's page."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --back: #eef1f6; --card: #fff; --text: #18212f; --soft: #55617a;
  --line: #d5dbe6; --strong: #2a4fb5; --on-strong: #fff; --good: #17693a; --bad: #a52318; }
@media (prefers-color-scheme: dark) {
  :root { --back: #10151d; --card: #1a212d; --text: #e9edf5; --soft: #a6b1c6; --line: #333e50;
    --strong: #a9c1ff; --on-strong: #101a36; --good: #7fd7a2; --bad: #ffab9f; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, footer { padding: 1rem 1.25rem; color: var(--soft); font-size: .875rem; text-align: center; }
header b { color: var(--text); font-size: 1rem; letter-spacing: .02em; }
main { flex: 1; width: 100%; max-width: 30rem; margin: 0 auto; padding: min(5vh, 3rem) 1rem 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 1rem; padding: 1.5rem;
  margin: 0 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { display: flex; align-items: center; gap: .875rem; font-size: 1.125rem; line-height: 1.35; margin: 0; }
p { margin: 0 0 1rem; }
small { display: block; color: var(--soft); font-size: .875rem; font-weight: 400; }
.soft { color: var(--soft); }
ul { list-style: none; margin: 1rem 0 0; padding: 0; }
li { padding: .75rem 0; border-top: 1px solid var(--line); }
li a { display: block; width: fit-content; font-weight: 600; }
section > :last-child, li:last-child { margin-bottom: 0; padding-bottom: 0; }
a { color: var(--strong); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
form { display: grid; gap: .625rem; margin: 1rem 0 0; }
button { display: flex; align-items: center; gap: .875rem; width: 100%; min-height: 3.5rem;
  padding: .5rem 1rem; font: inherit; text-align: left; color: var(--text); background: transparent;
  border: 1px solid var(--line); border-radius: .75rem; cursor: pointer; overflow-wrap: anywhere; }
button:hover { border-color: var(--strong); }
button.strong { color: var(--on-strong); background: var(--strong); border-color: var(--strong);
  font-weight: 600; }
button.strong small { color: inherit; }
button.plain { justify-content: center; text-align: center; min-height: 3rem; }
.face { flex: none; display: grid; place-items: center; width: 2.25rem; height: 2.25rem; border-radius: 50%;
  background: var(--strong); color: var(--on-strong); font-weight: 600; }
.strong .face { background: var(--on-strong); color: var(--strong); }
:focus-visible { outline: 3px solid var(--strong); outline-offset: 3px; }
"""

BUTTON_SCRIPT = """(function () {
  "use strict";
  var own = document.currentScript && document.currentScript.src;
  var home = own ? own.split("/").slice(0, 3).join("/") : "";
  var words = {register: "Sign up with Clef", connect: "Connect with Clef"};
  function draw(el) {
    if (!el || el.getAttribute("data-clef-drawn")) { return; }
    el.setAttribute("data-clef-drawn", "true");
    var query = ["app-id", "redirect-url", "state"].map(function (name) {
      var value = el.getAttribute("data-" + name);
      return value === null ? "" : name.replace("-", "_") + "=" + encodeURIComponent(value);
    }).filter(Boolean).join("&");
    var link = document.createElement("a");
    link.href = home + "/iframes/qr?" + query;
    link.textContent = words[el.getAttribute("data-type")] || "Log in with Clef";
    link.className = "clef-button-link";
    link.style.cssText = "display:inline-block;padding:.75em 1.25em;border-radius:.5em;" +
      "font:600 1em/1.25 sans-serif;text-decoration:none;color:#fff;background:#2a4fb5";
    if (el.tagName !== "SCRIPT") { el.appendChild(link); return; }
    el.parentNode.insertBefore(link, el.nextSibling);
  }
  function ClefButton(options) { this.el = options.el; }
  ClefButton.prototype.render = function () { draw(this.el); };
  ClefButton.initialize = function (options) { draw(options.el); };
  window.ClefButton = ClefButton;
  function drawAll() { Array.prototype.forEach.call(document.querySelectorAll(".clef-button"), draw); }
  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", drawAll); }
  else { drawAll(); }
}());
"""
