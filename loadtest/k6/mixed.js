// What a gateway meets in a day: mostly streams, some plain replies, now and then the models.

import exec from "k6/execution";
import * as common from "./common.js";

export const options = common.options({
  // Tags become figures of their own in the summary only where a threshold names them.
  "http_req_duration{name:chat}": ["p(99)<60000"],
  "http_req_duration{name:stream}": ["p(99)<60000"],
  "http_req_duration{name:models}": ["p(99)<60000"],
});

export default function () {
  // By the iteration's number and not by chance: two runs send the same mixture.
  const turn = exec.scenario.iterationInTest % 10;
  if (turn < 6) {
    common.stream();
  } else if (turn < 9) {
    common.chat();
  } else {
    common.models();
  }
}
