// A person's own passkeys: one that is there signs for what is done.

import {localise} from "./moments.js";
import {make, onSubmit, sign} from "./passkeys.js";

localise(document);

if (location.search) { history.replaceState(null, "", location.pathname + location.hash); }  // "saved" is said once

for (const form of document.querySelectorAll("#add")) {  // there is none without a passkey that could sign
  onSubmit(form, async (post) => {
    const known = await sign(await post("/passkeys/add/sign"));
    const credential = await make(await post("/passkeys/add/options", {credential: known}));
    const {location: next} = await post("/passkeys/add", {credential});
    location.assign(next);
  });
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const path = `/passkeys/${form.dataset.passkey}`;
  onSubmit(form, async (post) => {
    const credential = await sign(await post(`${path}/sign`));
    const {location: next} = await post(`${path}/remove`, {credential});
    location.assign(next);
  });
}
