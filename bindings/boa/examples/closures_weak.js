// Closures that hold closures, and the weak kinds: WeakMap entries die with their keys, a WeakRef follows its target while somebody
// else holds it. What the sum counts does not depend on when the collector runs.
"use strict";
function counter(start) {
  let n = start;
  const history = [];
  return {
    step(by) {
      n += by;
      history.push(() => n - by);
      if (history.length > 20) history.shift();
      return n;
    },
    last() { return history[history.length - 1](); },
  };
}
const secrets = new WeakMap();
const held = [];
const refs = [];
let sum = 0;
for (let i = 0; i < 30000; i++) {
  const c = counter(i);
  secrets.set(c, { owner: c, number: i * 7 });
  if (i % 50 === 0) {
    held.push(c);
    refs.push(new WeakRef(c));
  }
  for (let j = 0; j < 5; j++) sum = (sum + c.step(j)) % 1000003;
  sum = (sum + secrets.get(c).number + c.last()) % 1000003;
}
let alive = 0;
for (let i = 0; i < held.length; i++) {
  if (refs[i].deref() === held[i]) alive++;
  sum = (sum + secrets.get(held[i]).number) % 1000003;
}
let chained = (x) => x;
for (let i = 0; i < 200; i++) {
  const inner = chained;
  chained = (x) => inner(x) + 1;
}
console.log("checksum closures_weak " + sum + " " + alive + " " + chained(0));
