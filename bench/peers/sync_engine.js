// @supabase/stripe-sync-engine as its README says: migrations, then every webhook to processWebhook.
const http = require('node:http');
const {StripeSync, runMigrations} = require('@supabase/stripe-sync-engine');
const Stripe = require('stripe');
const [port, secret, databaseUrl, apiBase, revalidates] = process.argv.slice(2);

const sync = new StripeSync({
  poolConfig: {connectionString: databaseUrl, max: 10},
  stripeSecretKey: 'sk_test_standin0000000000000000',
  stripeWebhookSecret: secret,
  revalidateObjectsViaStripeApi: revalidates === 'true' ? ['customer', 'product'] : [],
});
// It has no setting for where Stripe's API is: the same client, asking the stand-in.
const api = new URL(apiBase);
sync.stripe = new Stripe('sk_test_standin0000000000000000', {host: api.hostname, port: api.port, protocol: 'http'});

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    try {
      await sync.processWebhook(Buffer.concat(chunks), request.headers['stripe-signature']);
      response.writeHead(200);
      response.end();
    } catch (error) {
      response.writeHead(500);
      response.end(`${error.type || error.name}: ${error.message}`);
    }
  });
});
runMigrations({databaseUrl, schema: 'stripe'}).then(() => server.listen(Number(port), '127.0.0.1'));
