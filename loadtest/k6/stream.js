// Streamed chat completions.

import * as common from "./common.js";

export const options = common.options();

export default function () {
  common.stream();
}
