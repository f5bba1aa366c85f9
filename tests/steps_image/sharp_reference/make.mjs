// Writes what sharp makes of the shared corpus, for sharp_test.cc to compare with:
//   thumbnails.png  each file resized to 24 x 24 (fill), one cell each, 16 in a row
//   files.json      the files in that order; of each, the digest of its decoded pixels
//
//   npm install --prefix DIRECTORY sharp@0.34.5
//   NODE_PATH=DIRECTORY/node_modules node make.mjs CORPUS [OUT]
//
// sharp is asked for what our steps do by default: upright, sRGB, Lanczos 3, alpha multiplied in.
import { createHash } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const sharp = createRequire(import.meta.url)('sharp');
const side = 24, columns = 16;
const corpus = process.argv[2];
const out = process.argv[3] ?? dirname(fileURLToPath(import.meta.url));
const endings = /\.(png|jpe?g|webp|tiff|gif)$/;

const names = ['exif-orientation', 'libjpeg-turbo', 'photo', 'pngsuite', 'x-image'].flatMap((folder) =>
  readdirSync(join(corpus, folder)).filter((name) => endings.test(name)).sort().map((name) => `${folder}/${name}`));

const rgba = (image) => image.toColourspace('srgb').ensureAlpha().raw().toBuffer({ resolveWithObject: true });

const files = [], cells = [];
for (const name of names) {
  try {
    const open = () => sharp(join(corpus, name), { failOn: 'error' }).autoOrient();
    const whole = await rgba(open());
    const small = await rgba(open().resize(side, side, { fit: 'fill', kernel: 'lanczos3' }));
    files.push({ name, width: whole.info.width, height: whole.info.height,
      sha256: createHash('sha256').update(whole.data).digest('hex') });
    cells.push(small.data);
  } catch (error) {
    console.error(`${name}: ${error.message}`);  // what sharp does not take is not compared
  }
}

const rows = Math.ceil(cells.length / columns);
const sheet = Buffer.alloc(columns * rows * side * side * 4);
cells.forEach((cell, index) => {
  const left = (index % columns) * side, top = Math.floor(index / columns) * side;
  for (let y = 0; y < side; y++) {
    cell.copy(sheet, ((top + y) * columns * side + left) * 4, y * side * 4, (y + 1) * side * 4);
  }
});
await sharp(sheet, { raw: { width: columns * side, height: rows * side, channels: 4 } })
  .png({ compressionLevel: 9, adaptiveFiltering: true }).toFile(join(out, 'thumbnails.png'));
writeFileSync(join(out, 'files.json'), JSON.stringify({ sharp: sharp.versions.sharp, libvips: sharp.versions.vips,
  files }, null, 0).replaceAll('{"name"', '\n{"name"') + '\n');
