// Makes the pictures of compare.py from those of Debian's package mate-backgrounds 1.26.0-1: `node files.mjs UNPACKED TO`.
import { join } from 'node:path';
import sharp from 'sharp';

const [from, to] = process.argv.slice(2);
const at = (name) => join(from, 'usr/share/backgrounds/mate', name);
const phone = sharp(at('abstract/Elephants_5640x3172.jpg')).extract({ left: 800, top: 100, width: 4000, height: 3000 });
await phone.clone().jpeg({ quality: 92 }).toFile(join(to, 'phone12.jpg')); // 12 megapixels, 4:2:0
await phone.clone().png({ adaptiveFiltering: false }).toFile(join(to, 'phone12.png'));
const garden = sharp(at('nature/Garden.jpg'));
await garden.clone().resize({ width: 1920 }).jpeg({ quality: 90 }).toFile(join(to, 'photo2.jpg'));
await garden.clone().resize({ width: 480 }).jpeg({ quality: 85 }).toFile(join(to, 'small.jpg'));
await garden.clone().resize({ width: 1920 }).webp({ quality: 80 }).toFile(join(to, 'photo2.webp'));
await garden.clone().resize({ width: 1920 }).avif({ quality: 60, effort: 4 }).toFile(join(to, 'photo2.avif'));
await garden.clone().resize({ width: 1280 }).png().toFile(join(to, 'photo1.png'));
await sharp(at('abstract/Flow.png')).png().toFile(join(to, 'alpha.png')); // 1920x1200 with alpha
