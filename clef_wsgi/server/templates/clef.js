/* Draws login buttons: at each <script class="clef-button">, and in each element of that class.
   Nothing else of the page is read or changed; no eval, no markup from text, no <style>: it runs under a
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
  var NAMES = ["app-id", "redirect-url", "state", "type", "color", "style", "custom", "custom-logo", "custom-message"];
  var links = new WeakMap();

  function given(el, name) { return el.getAttribute("data-" + name); }

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
    var custom = given(el, "custom");
    if (custom !== null && custom !== "false") { return; }  // the page dresses it itself
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

  function draw(el) {
    if (!el || !el.getAttribute || !given(el, "app-id") || !given(el, "redirect-url")) { return; }
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
