// Chat completions without streams.

import * as common from "./common.js";

export const options = common.options();

export default function () {
  common.chat();
}
