// What the pages with a passkey button share: the two ceremonies, requests to the server, and the line of trouble.

const line = document.getElementById("problem");
const BYTES = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];

/** The server said no; `message` is a sentence for people. */
class Refused extends Error {}

/** Asks the browser for a signature of a passkey; returns what the server wants to see. */
export async function sign(options) {
  options.challenge = bytes(options.challenge);
  for (const known of options.allowCredentials ?? []) { known.id = bytes(known.id); }
  return asJson(await navigator.credentials.get({publicKey: options}));
}

/** Asks the browser for a new passkey; returns what the server wants to see. */
export async function make(options) {
  options.challenge = bytes(options.challenge);
  options.user.id = bytes(options.user.id);
  for (const known of options.excludeCredentials ?? []) { known.id = bytes(known.id); }
  return asJson(await navigator.credentials.create({publicKey: options}));
}

/** Runs `steps(post)` when the form is sent, one run at a time; what goes wrong is said on the page.
    Its buttons have waited for this, unless the browser has no passkeys at all. */
export function onSubmit(form, steps) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.getAttribute("aria-busy") !== "true") { await attempt(form, steps); }
  });
  if (!window.PublicKeyCredential) { return; }
  for (const button of form.querySelectorAll("button")) { button.disabled = false; }
}

/** Runs `steps(post)` now. */
export async function attempt(form, steps) {
  say("");
  form.setAttribute("aria-busy", "true");
  try {
    if (!window.PublicKeyCredential) { throw new Refused(line.dataset.unsupported); }
    await steps((path, body = {}) => post(form, path, body));
  } catch (error) {
    say(sentence(error));
  } finally {
    form.removeAttribute("aria-busy");
  }
}

/** Shows a sentence where screen readers hear of it. */
export function say(text) {
  line.textContent = text;
}

async function post(form, path, body) {
  const headers = {"Content-Type": "application/json", "X-Clef-Token": form.elements.token.value};
  const answer = await fetch(path, {method: "POST", headers, body: JSON.stringify(body)});
  const found = await answer.json();
  if (!answer.ok) { throw new Refused(found.message); }
  return found;
}

function sentence(error) {
  const known = {
    NotAllowedError: line.dataset.cancelled,
    AbortError: line.dataset.cancelled,
    InvalidStateError: line.dataset.known,
    NotSupportedError: line.dataset.unsupported,
    TypeError: line.dataset.offline,
  };
  return error instanceof Refused ? error.message : known[error.name] ?? line.dataset.unexpected;
}

function asJson(credential) {
  const {id, type, authenticatorAttachment, response} = credential;
  const found = {id, rawId: text(credential.rawId), type, authenticatorAttachment, response: {}};
  for (const name of BYTES.filter((each) => response[each])) { found.response[name] = text(response[name]); }
  if (response.getTransports) { found.response.transports = response.getTransports(); }
  return found;
}

function bytes(base64url) {
  const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function text(buffer) {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
