// Perfect binary trees: many short-lived ones beside one that lives throughout.
"use strict";
class Tree {
  constructor(left, right) {
    this.left = left;
    this.right = right;
  }
  count() {
    return this.left === null ? 1 : 1 + this.left.count() + this.right.count();
  }
}
function grow(depth) {
  return depth === 0 ? new Tree(null, null) : new Tree(grow(depth - 1), grow(depth - 1));
}
const MAX = 12;
const longLived = grow(MAX);
let sum = 0;
for (let depth = 4; depth <= MAX; depth += 2) {
  const times = 1 << (MAX - depth + 4);
  for (let i = 0; i < times; i++) sum += grow(depth).count();
}
console.log("checksum binary_trees " + sum + " " + longLived.count());
