// What the same work costs in sharp, for compare.py: `node sharp_cost.mjs OP FILE ROUNDS WIDTH QUALITY [IN_FLIGHT]`.
// One JSON line as image-cost's, and images a second with IN_FLIGHT at once.
import { readFileSync } from 'node:fs';
import sharp from 'sharp';

const [op, file, rounds, width, quality, inFlight] = process.argv.slice(2);
const input = readFileSync(file);
const q = Number(quality), w = Number(width);
sharp.cache(false);
sharp.concurrency(1); // the default on Debian's allocator; ours is one thread an image as well

const open = () => sharp(input).autoOrient();
// As here, the decoder leaves a factor of two to the filter; SHARP_FAST=1 is sharp's own default, which leaves less.
const fastShrinkOnLoad = process.env.SHARP_FAST === '1';
const small = () => open().resize({ width: w, withoutEnlargement: true, kernel: 'lanczos3', fastShrinkOnLoad });
const jpeg = (image) => image.jpeg({ quality: q });
const ops = {
  gray: () => jpeg(open().greyscale().toColourspace('b-w')),
  resize: () => jpeg(small()),
  'resize-png': () => small().png({ compressionLevel: 6, adaptiveFiltering: true }),
  'resize-webp': () => small().webp({ quality: q, alphaQuality: 100 }),
  chain: () => jpeg(small().blur(2).greyscale().toColourspace('b-w')),
  jpeg: () => jpeg(open()),
  webp: () => open().webp({ quality: q, alphaQuality: 100 }),
  png: () => open().png({ compressionLevel: 6, adaptiveFiltering: true }),
};
const run = () => ops[op]().toBuffer();
const cpu = () => { const u = process.cpuUsage(); return (u.user + u.system) / 1e3; };
const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];

let bytes = (await run()).length;
const cpus = [], walls = [];
for (let i = 0; i < Number(rounds); i++) {
  const c = cpu(), t = performance.now();
  bytes = (await run()).length;
  cpus.push(cpu() - c);
  walls.push(performance.now() - t);
}
const n = Number(inFlight ?? 0), result = { cpu_ms: median(cpus), wall_ms: median(walls), bytes };
if (n > 0) {
  let left = Number(rounds) * n;
  const began = performance.now(), c = cpu();
  const worker = async () => { while (left-- > 0) await run(); };
  await Promise.all(Array.from({ length: n }, worker));
  result.per_s = (Number(rounds) * n * 1000) / (performance.now() - began);
  result.cpu_ms_in_flight = (cpu() - c) / (Number(rounds) * n);
}
result.rss_mb = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify(result));
