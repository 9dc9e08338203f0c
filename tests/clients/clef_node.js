// A site that uses `clef` from npm: one order a line in, one outcome a line out, as JSON.
"use strict";

const Clef = require(process.env.OLD_CLIENTS + "/node_modules/clef");
const lines = require("readline").createInterface({ input: process.stdin });

lines.on("line", (line) => {
  const order = JSON.parse(line);
  const api = Clef.initialize({ appID: order.app_id, appSecret: order.app_secret, root: order.root + "/api" });
  const say = (error, result) => console.log(JSON.stringify(error ? { error: error.type } : { result }));
  if (order.do === "login") {
    api.getLoginInformation({ code: order.code }, say);
  } else {
    api.getLogoutInformation({ logoutToken: order.logout_token }, say);
  }
});
