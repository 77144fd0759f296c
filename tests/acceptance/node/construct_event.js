// Reads lines of JSON {body, header, secret} (body in base64); prints the event's id of each that Stripe's library takes.
const stripe = require("stripe")("sk_test_unused");
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { body, header, secret } = JSON.parse(line);
  try {
    console.log(stripe.webhooks.constructEvent(Buffer.from(body, "base64"), header, secret).id);
  } catch (error) {
    console.log(`refused: ${error.message.split("\n")[0]}`);
  }
});
