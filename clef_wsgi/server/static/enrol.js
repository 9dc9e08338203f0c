// The page behind a one-time link: its secret is in the fragment, which no request carries by itself.

import {attempt, make, onSubmit, say} from "./passkeys.js";

const form = document.getElementById("enrol");
const secret = location.hash.slice(1);

addEventListener("hashchange", () => location.reload());

if (secret) {
  attempt(form, async (post) => show(await post("/enrol/look", {secret}))).then(offerToSignIn);
} else {
  say(form.dataset.incomplete);
  offerToSignIn();
}

onSubmit(form, async (post) => {
  const names = {first_name: form.elements.first_name.value, last_name: form.elements.last_name.value};
  const credential = await make(await post("/enrol/options", {secret, ...names}));
  const {location: next} = await post("/enrol", {secret, credential, ...names});
  location.replace(next);
});

/** A link that does not work was perhaps used by this very person. */
function offerToSignIn() {
  document.getElementById("other").hidden = !form.hidden;
}

function show(person) {
  form.elements.first_name.value = person.first_name;
  form.elements.last_name.value = person.last_name;
  document.getElementById("address").textContent = person.email;
  document.getElementById("email").hidden = !person.email;
  document.getElementById("recovery").hidden = !person.is_recovery;
  form.hidden = false;
}
