// Long lists: nothing may recurse over them. Half of the nodes are unlinked again and again, and new ones take their place.
"use strict";
function cons(value, next) {
  return { value, next };
}
const LENGTH = 150000;
let list = null;
for (let i = 0; i < LENGTH; i++) list = cons(i, list);
let sum = 0;
for (let round = 0; round < 6; round++) {
  let length = 0;
  for (let n = list; n !== null; n = n.next) {
    if (n.next !== null && n.next.next !== null) n.next = n.next.next;
    length++;
    sum = (sum * 3 + n.value) % 1000003;
  }
  for (let i = length; i < LENGTH; i++) list = cons(i, list);
}
let length = 0;
for (let n = list; n !== null; n = n.next) length++;
console.log("checksum linked_list " + length + " " + sum);
