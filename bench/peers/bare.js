// Bare Node: verifies with the official library and answers. Keeps nothing.
const http = require('node:http');
const stripe = require('stripe')('sk_test_bench');
const [port, secret] = process.argv.slice(2);

http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    try {
      stripe.webhooks.constructEvent(Buffer.concat(chunks), request.headers['stripe-signature'], secret);
      response.writeHead(200, {'content-type': 'application/json'});
      response.end('{"received": true}');
    } catch (error) {
      response.writeHead(400);
      response.end(error.message);
    }
  });
}).listen(Number(port), '127.0.0.1');
