// The account page works without a script; with one, it tells the time as the visitor's clock does.

import {localise} from "./moments.js";

localise(document);
if (location.search) { history.replaceState(null, "", location.pathname + location.hash); }  // "saved" is said once
