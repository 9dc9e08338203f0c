// Says before the first press what keeps a passkey button from working. In words that every browser can read, since one
// that can't read the modules is one of the reasons (ECMAScript 5).

(function () {
  "use strict";

  function say(name) {
    var line = document.getElementById("problem");
    line.textContent = line.getAttribute("data-" + name);
  }

  function onceRead(work) {
    if (document.readyState !== "loading") { work(); return; }
    document.addEventListener("DOMContentLoaded", work);
  }

  onceRead(function () { if (!window.PublicKeyCredential) { say("unsupported"); } });

  // a script did not come, or could not be read
  window.addEventListener("error", function (event) {
    if (event.target !== window && event.target.tagName !== "SCRIPT") { return; }
    onceRead(function () {
      if (document.querySelector("button[disabled]")) { say(window.PublicKeyCredential ? "unexpected" : "unsupported"); }
    });
  }, true);
}());
