/* Draws login buttons: at each <script class="clef-button">, and in each element of that class; with
   data-custom="true" the element itself is the button. Nothing else of the page is read or changed; no eval, no markup from text, no <style>: it runs under a
   Content-Security-Policy that allows this one script. */
(function () {
  "use strict";
  if (window.ClefButton && window.ClefButton.isDrawnBy === {{ origin|tojson }}) { return; }

  var ORIGIN = {{ origin|tojson }};
  var WORDS = {{ words|tojson }};
  var COLORS = {
    blue: {color: "#ffffff", backgroundColor: "#2a4fb5", borderColor: "#2a4fb5", hover: "#213f92"},
    white: {color: "#1f3f99", backgroundColor: "#ffffff", borderColor: "#7b879c", hover: "#eef2fc"}
  };
  var SHAPES = {
    button: {borderRadius: "0.5em", boxShadow: "0 1px 2px rgba(0, 0, 0, 0.3)"},
    flat: {borderRadius: "0.25em", boxShadow: "none"}
  };
  var LOOK = {
    display: "inline-flex", alignItems: "center", gap: "0.6em", boxSizing: "border-box", minHeight: "2.75em",
    maxWidth: "100%", margin: "0", padding: "0.5em 1.1em", borderWidth: "1px", borderStyle: "solid",
    font: "600 16px/1.3 system-ui, sans-serif", letterSpacing: "normal", textDecoration: "none",
    textTransform: "none", overflowWrap: "anywhere", cursor: "pointer"
  };
  var NAMES = ["app-id", "redirect-url", "state", "type", "color", "style", "embed", "custom", "custom-logo",
    "custom-message"];
  var links = new WeakMap();
  var made = new WeakSet();  // elements that are buttons themselves, and links with a frame beside them

  function given(el, name) { return el.getAttribute("data-" + name); }

  function says(el, name) { return given(el, name) !== null && given(el, name) !== "false"; }

  function one(table, key, usual) {
    return Object.prototype.hasOwnProperty.call(table, key) ? table[key] : table[usual];
  }

  function address(el) {
    var query = new URLSearchParams();
    ["app-id", "redirect-url", "state"].forEach(function (name) {
      if (given(el, name) !== null) { query.set(name.replace("-", "_"), given(el, name)); }
    });
    return ORIGIN + "/iframes/qr?" + query;
  }

  function label(el) {
    var place = el.closest("[lang]");
    var language = ((place && place.getAttribute("lang")) || "").toLowerCase().split("-")[0];
    return given(el, "custom-message") || one(one(WORDS, language, "en"), given(el, "type"), "login");
  }

  function logo(el) {
    var picture = document.createElement("img");
    try {
      var url = new URL(given(el, "custom-logo"), document.baseURI);
      if (url.protocol !== "https:" && url.protocol !== "http:") { return null; }
      picture.src = url.href;
    } catch (error) { return null; }
    picture.alt = "";
    picture.style.height = "1.5em";
    picture.onerror = function () { picture.remove(); };  // the page's policy may forbid it
    return picture;
  }

  function dress(link, el) {
    if (says(el, "custom")) { return; }  // the page dresses it itself
    var colors = one(COLORS, given(el, "color"), "blue");
    var shape = one(SHAPES, given(el, "style"), "button");
    Object.assign(link.style, LOOK, colors, shape);
    link.onmouseenter = function () { link.style.backgroundColor = colors.hover; };
    link.onmouseleave = function () { link.style.backgroundColor = colors.backgroundColor; };
    link.onfocus = function () {
      if (!link.matches(":focus-visible")) { return; }
      // dark with a light rim, so that it is seen on any ground
      Object.assign(link.style, {outline: "3px solid #12307f", outlineOffset: "2px", boxShadow: "0 0 0 8px #ffffff"});
    };
    link.onblur = function () { Object.assign(link.style, {outline: "", outlineOffset: "", boxShadow: shape.boxShadow}); };
  }

  // a script can't be pressed; nor can an element without anything in it, unless the page draws it
  function isButton(el) {
    var isEmpty = !el.childNodes.length && !el.matches("input, button");
    return says(el, "custom") && el.tagName !== "SCRIPT" && !(isEmpty && given(el, "custom-message") !== null);
  }

  function press(event) {
    if (!isButton(event.currentTarget)) { return; }
    event.preventDefault();  // of a form's own button: the form is not sent
    window.open(address(event.currentTarget), "_top");
  }

  function makeButton(el) {
    if (links.has(el)) { links.get(el).remove(); }
    if (made.has(el)) { return; }
    made.add(el);
    el.addEventListener("click", press);
    if (el.matches("input, button, a[href]")) { return; }  // the browser lets keys press these
    el.addEventListener("keydown", function (event) {
      if (event.target === el && (event.key === "Enter" || event.key === " ")) { press(event); }
    });
    if (!el.hasAttribute("tabindex")) { el.tabIndex = 0; }
    if (!el.hasAttribute("role")) { el.setAttribute("role", "link"); }
  }

  // The old service put its page into a frame, and pages hide all behind a spinner until that has loaded: they get
  // a frame with nothing in it. The login itself is never framed.
  function embed(link) {
    if (made.has(link)) { return; }
    made.add(link);
    var frame = document.createElement("iframe");
    frame.style.setProperty("display", "none", "important");
    link.parentNode.insertBefore(frame, link.nextSibling);
    function tell() {
      frame.setAttribute("data-loaded", "true");
      frame.dispatchEvent(new Event("load"));
    }
    function soon() { setTimeout(tell); }  // behind what the page itself does when it has loaded
    if (document.readyState === "complete") { soon(); } else { window.addEventListener("load", soon); }
  }

  function draw(el) {
    if (!el || !el.getAttribute || !given(el, "app-id") || !given(el, "redirect-url")) { return; }
    if (isButton(el)) { makeButton(el); return; }
    var link = links.get(el) || document.createElement("a");
    var picture = given(el, "custom-logo") === null ? null : logo(el);
    var words = document.createElement("span");
    words.textContent = label(el);
    link.replaceChildren(words);
    if (picture) { link.prepend(picture); }
    link.className = "clef-button-link";
    link.href = address(el);
    link.target = "_top";  // the whole page: a login in a frame could be drawn over
    dress(link, el);
    links.set(el, link);
    if (el.tagName !== "SCRIPT") {
      if (link.parentNode !== el) { el.appendChild(link); }
    } else if (el.parentNode && el.nextSibling !== link) {
      el.parentNode.insertBefore(link, el.nextSibling);
    }
    if (says(el, "embed") && link.parentNode) { embed(link); }
  }

  function drawWithin(node) {
    if (node.nodeType !== Node.ELEMENT_NODE && node.nodeType !== Node.DOCUMENT_NODE) { return; }
    if (node.matches && node.matches(".clef-button")) { draw(node); }
    node.querySelectorAll(".clef-button").forEach(draw);
  }

  function ClefButton(options) { this.el = options.el; }
  ClefButton.prototype.render = function () { draw(this.el); return this; };
  ClefButton.initialize = function (options) { return new ClefButton(options).render(); };
  ClefButton.isDrawnBy = ORIGIN;
  window.ClefButton = ClefButton;

  drawWithin(document);
  new MutationObserver(function (changes) {
    changes.forEach(function (change) {
      if (change.type === "childList") { change.addedNodes.forEach(drawWithin); }
      else if (links.has(change.target) || change.target.matches(".clef-button")) { draw(change.target); }
    });
  }).observe(document, {
    childList: true, subtree: true, attributes: true,
    attributeFilter: ["class"].concat(NAMES.map(function (name) { return "data-" + name; }))
  });
}());
