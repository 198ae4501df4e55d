/** A bar chart as SVG: some values for each of some rows, on a logarithmic scale. */

export interface ChartRow {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
}

const COLOURS = ["#9aa5b1", "#2f7ed8", "#8bbc21", "#d9534f"];
const WIDTH = 820;
const LEFT = 140;
const RIGHT = 90;
const TOP = 64;
const BAR = 12;
const GAP = 10;

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

export function barChart(
  title: string,
  names: readonly string[],
  rows: readonly ChartRow[],
  label: (value: number) => string,
): string {
  const values = rows.flatMap((row) => row.values).filter((value) => value !== undefined);
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.ceil(Math.log10(Math.max(...values)));
  const scale = (value: number): number =>
    ((Math.log10(value) - low) / Math.max(1, high - low)) * (WIDTH - LEFT - RIGHT);
  const group = names.length * BAR + GAP;
  const height = TOP + rows.length * group + 28;
  const parts: string[] = [];
  const text = (x: number, y: number, content: string, extra = ""): void => {
    parts.push(`<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${extra}>${escape(content)}</text>`);
  };
  text(LEFT, 20, title, 'font-weight="bold" font-size="14"');
  names.forEach((name, index) => {
    const x = LEFT + index * 160;
    parts.push(`<rect x="${x}" y="32" width="10" height="10" fill="${COLOURS[index % COLOURS.length]}"/>`);
    text(x + 15, 41, name);
  });
  for (let power = low; power <= high; power++) {
    const x = LEFT + scale(10 ** power);
    parts.push(
      `<line x1="${x.toFixed(1)}" y1="${TOP - 8}" x2="${x.toFixed(1)}" y2="${height - 22}" stroke="#ddd"/>`,
    );
    text(x, height - 8, label(10 ** power), 'text-anchor="middle" fill="#666"');
  }
  rows.forEach((row, at) => {
    const y = TOP + at * group;
    text(LEFT - 8, y + (group - GAP) / 2 + 4, row.name, 'text-anchor="end"');
    row.values.forEach((value, index) => {
      if (value === undefined) return;
      const width = Math.max(1, scale(value));
      const top = y + index * BAR;
      parts.push(
        `<rect x="${LEFT}" y="${top}" width="${width.toFixed(1)}" height="${BAR - 2}" fill="${COLOURS[index % COLOURS.length]}"/>`,
      );
      text(LEFT + width + 4, top + BAR - 3, label(value), 'font-size="10"');
    });
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n${parts.join("\n")}\n</svg>\n`
  );
}
