// Node + better-sqlite3: verifies, inserts durably, then answers. A transaction for each event.
const http = require('node:http');
const stripe = require('stripe')('sk_test_bench');
const Database = require('better-sqlite3');
const [port, secret, path] = process.argv.slice(2);

const database = new Database(path);
database.pragma('journal_mode = WAL');
database.pragma('synchronous = FULL');
database.exec('CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, type TEXT, received_at INTEGER, body BLOB)');
const insert = database.prepare('INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)');

http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    try {
      const body = Buffer.concat(chunks);
      const event = stripe.webhooks.constructEvent(body, request.headers['stripe-signature'], secret);
      insert.run(event.id, event.type, Date.now(), body);
      response.writeHead(200, {'content-type': 'application/json'});
      response.end('{"received": true}');
    } catch (error) {
      response.writeHead(400);
      response.end(error.message);
    }
  });
}).listen(Number(port), '127.0.0.1');
