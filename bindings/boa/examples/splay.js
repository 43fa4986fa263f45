// A splay tree of strings: nodes move to the root when touched; a fixed number of keys lives, old ones die as new ones come.
"use strict";
class Node {
  constructor(key, value) {
    this.key = key;
    this.value = value;
    this.left = null;
    this.right = null;
  }
}
let root = null;
function splay(key) {
  if (root === null) return;
  const header = new Node(0, null);
  let left = header, right = header, t = root;
  for (;;) {
    if (key < t.key) {
      if (t.left === null) break;
      if (key < t.left.key) {
        const y = t.left;
        t.left = y.right;
        y.right = t;
        t = y;
        if (t.left === null) break;
      }
      right.left = t;
      right = t;
      t = t.left;
    } else if (key > t.key) {
      if (t.right === null) break;
      if (key > t.right.key) {
        const y = t.right;
        t.right = y.left;
        y.left = t;
        t = y;
        if (t.right === null) break;
      }
      left.right = t;
      left = t;
      t = t.right;
    } else break;
  }
  left.right = t.left;
  right.left = t.right;
  t.left = header.right;
  t.right = header.left;
  root = t;
}
function insert(key, value) {
  const node = new Node(key, value);
  if (root !== null) {
    splay(key);
    if (root.key === key) return false;
    if (key < root.key) {
      node.left = root.left;
      node.right = root;
      root.left = null;
    } else {
      node.right = root.right;
      node.left = root;
      root.right = null;
    }
  }
  root = node;
  return true;
}
function removeBelow(key) {
  splay(key);
  if (root.key > key) {
    if (root.left === null) return null;
    splay(root.left.key);
  }
  const victim = root;
  if (root.left === null) root = root.right;
  else {
    const right = root.right;
    root = root.left;
    splay(victim.key);
    root.right = right;
  }
  return victim.key;
}
function payload(depth, tag) {
  if (depth === 0) return { numbers: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], text: "leaf " + tag };
  return { left: payload(depth - 1, tag), right: payload(depth - 1, tag) };
}
let seed = 49;
function random() {
  seed = (seed * 1103515245 + 12345) & 0x7fffffff;
  return seed / 0x7fffffff;
}
const KEYS = 3000;
let added = 0, removed = 0;
while (added < KEYS) if (insert(random(), payload(3, added))) added++;
for (let i = 0; i < 12000; i++) {
  while (!insert(random(), payload(3, i)));
  const gone = removeBelow(random());
  if (gone !== null) removed++;
}
let count = 0, sum = 0;
const todo = [root];
while (todo.length > 0) {
  const n = todo.pop();
  if (n === null) continue;
  count++;
  sum = (sum + Math.floor(n.key * 1e6)) % 1000003;
  todo.push(n.left, n.right);
}
console.log("checksum splay " + count + " " + removed + " " + sum);
