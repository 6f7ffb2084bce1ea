// Values of a CSV table.

/** A text, in quotes if it needs them. */
export const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** A number with nine digits, which distinguish any two float32. */
export const shorten = (x) => String(Number(x.toPrecision(9)));
