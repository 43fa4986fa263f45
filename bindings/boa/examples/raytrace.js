// A small ray tracer: spheres over a plane, one light, reflections. Vectors are objects, so most of what it makes dies at once.
"use strict";
class Vec {
  constructor(x, y, z) {
    this.x = x;
    this.y = y;
    this.z = z;
  }
  add(o) { return new Vec(this.x + o.x, this.y + o.y, this.z + o.z); }
  sub(o) { return new Vec(this.x - o.x, this.y - o.y, this.z - o.z); }
  scale(s) { return new Vec(this.x * s, this.y * s, this.z * s); }
  dot(o) { return this.x * o.x + this.y * o.y + this.z * o.z; }
  unit() { return this.scale(1 / Math.sqrt(this.dot(this))); }
}
class Sphere {
  constructor(center, radius, colour, mirror) {
    this.center = center;
    this.radius = radius;
    this.colour = colour;
    this.mirror = mirror;
  }
  hit(from, along) {
    const toCenter = this.center.sub(from);
    const b = toCenter.dot(along);
    const d = b * b - toCenter.dot(toCenter) + this.radius * this.radius;
    if (d < 0) return Infinity;
    const near = b - Math.sqrt(d);
    if (near > 1e-4) return near;
    const far = b + Math.sqrt(d);
    return far > 1e-4 ? far : Infinity;
  }
  normal(at) { return at.sub(this.center).unit(); }
}
class Floor {
  constructor(y) {
    this.y = y;
    this.mirror = 0.1;
  }
  get colour() { return new Vec(0.6, 0.6, 0.5); }
  hit(from, along) {
    const t = (this.y - from.y) / along.y;
    return t > 1e-4 ? t : Infinity;
  }
  normal() { return new Vec(0, 1, 0); }
}
const things = [new Floor(-1)];
for (let i = 0; i < 6; i++) {
  const angle = (i * Math.PI) / 3;
  const at = new Vec(Math.cos(angle) * 2, -0.4 + (i % 2) * 0.5, 5 + Math.sin(angle) * 2);
  things.push(new Sphere(at, 0.6, new Vec(0.3 + 0.1 * i, 0.8 - 0.1 * i, 0.5), 0.3));
}
const light = new Vec(-4, 6, -2);
function trace(from, along, depth) {
  let best = Infinity, thing = null;
  for (const t of things) {
    const d = t.hit(from, along);
    if (d < best) {
      best = d;
      thing = t;
    }
  }
  if (thing === null) return new Vec(0.2, 0.3, 0.5 + 0.3 * along.y);
  const at = from.add(along.scale(best));
  const normal = thing.normal(at);
  const toLight = light.sub(at).unit();
  let lit = Math.max(0, normal.dot(toLight));
  for (const t of things) if (t.hit(at, toLight) < Infinity) lit *= 0.5;
  let colour = thing.colour.scale(0.1 + 0.9 * lit);
  if (depth > 0 && thing.mirror > 0) {
    const reflected = along.sub(normal.scale(2 * along.dot(normal)));
    colour = colour.scale(1 - thing.mirror).add(trace(at, reflected, depth - 1).scale(thing.mirror));
  }
  return colour;
}
const WIDTH = 100, HEIGHT = 75;
let sum = 0;
for (let y = 0; y < HEIGHT; y++) {
  for (let x = 0; x < WIDTH; x++) {
    const along = new Vec((x - WIDTH / 2) / WIDTH, (HEIGHT / 2 - y) / WIDTH, 1).unit();
    const c = trace(new Vec(0, 0.5, 0), along, 3);
    sum = (sum * 31 + Math.floor(c.x * 255) + Math.floor(c.y * 255) * 3 + Math.floor(c.z * 255) * 7) % 1000000007;
  }
}
console.log("checksum raytrace " + sum);
