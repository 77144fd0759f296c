// Node + pg: verifies, inserts durably, then answers. One insert for each request, 8 connections.
const http = require('node:http');
const stripe = require('stripe')('sk_test_bench');
const {Pool} = require('pg');
const [port, secret, host, database] = process.argv.slice(2);

const pool = new Pool({host, database, user: 'postgres', max: 8});
const insert = {
  name: 'insert',  // prepared once a connection
  text: 'INSERT INTO peer_events VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
};

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    try {
      const body = Buffer.concat(chunks);
      const event = stripe.webhooks.constructEvent(body, request.headers['stripe-signature'], secret);
      await pool.query({...insert, values: [event.id, event.type, Date.now(), body]});
      response.writeHead(200, {'content-type': 'application/json'});
      response.end('{"received": true}');
    } catch (error) {
      response.writeHead(400);
      response.end(error.message);
    }
  });
});
pool.query('CREATE TABLE IF NOT EXISTS peer_events (id text PRIMARY KEY, type text, received_at bigint, body bytea)')
  .then(() => server.listen(Number(port), '127.0.0.1'));
