// Two caches: one evicts the least recently used entry, one holds derived values by key. Middle-aged objects die in odd order.
"use strict";
class Lru {
  constructor(limit) {
    this.limit = limit;
    this.map = new Map();
    this.misses = 0;
  }
  get(key, make) {
    let value = this.map.get(key);
    if (value !== undefined) this.map.delete(key);
    else {
      this.misses++;
      value = make(key);
      if (this.map.size >= this.limit) this.map.delete(this.map.keys().next().value);
    }
    this.map.set(key, value);
    return value;
  }
}
let seed = 7;
function random(n) {
  seed = (seed * 69069 + 1) % 4294967296;
  return Math.floor((seed / 4294967296) * n);
}
function record(key) {
  const fields = [];
  for (let i = 0; i < 8; i++) fields.push({ name: "field" + i, value: key * i, tags: [key, i] });
  return { key, fields, text: "record " + key };
}
const records = new Lru(4000);
const totals = new Lru(1000);
let sum = 0;
for (let i = 0; i < 60000; i++) {
  // Some keys are far more popular than others.
  const key = Math.min(random(12000), random(12000));
  const r = records.get(key, record);
  const total = totals.get(key % 3000, () => ({ of: r, sum: r.fields.reduce((a, f) => a + f.value, 0) }));
  sum = (sum + total.sum + r.fields[i % 8].value) % 1000003;
}
console.log("checksum cache " + sum + " " + records.misses + " " + totals.misses);
