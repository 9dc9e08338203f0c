// The button of the sign-in page.

import {onSubmit, sign} from "./passkeys.js";

const form = document.getElementById("sign-in");

onSubmit(form, async (post) => {
  const credential = await sign(await post("/sign-in/options"));
  const {location: next} = await post(form.getAttribute("action"), {credential});
  location.assign(next);
});
