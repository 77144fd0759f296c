// @stripe/sync-engine 1.x, which supabase's engine has become: migrations, then every webhook to webhook.processWebhook. Its README
// tells of the command alone, `sync --listen-mode webhook`, which opens a tunnel and needs Stripe; this is what that runs below.
import http from 'node:http';
import {StripeSync, runMigrations} from '@stripe/sync-engine';
const [port, secret, databaseUrl, apiBase, revalidates] = process.argv.slice(2);

// Its tables are made from Stripe's description of the API, which it would fetch: the part of it that is compared.
const openApiSpecPath = new URL('sync_engine_1.openapi.json', import.meta.url).pathname;
const silent = {info() {}, warn() {}, error: console.error};
await runMigrations({databaseUrl, openApiSpecPath, logger: silent});
const sync = await StripeSync.create({
  poolConfig: {connectionString: databaseUrl, max: 10},
  stripeSecretKey: 'sk_test_standin0000000000000000',
  stripeAccountId: 'acct_standin',
  stripeWebhookSecret: secret,
  revalidateObjectsViaStripeApi: revalidates === 'true' ? ['customer', 'product'] : [],
  logger: silent,
});
// It has no setting for where Stripe's API is: its client asks the stand-in.
const api = new URL(apiBase);
for (const [name, value] of Object.entries({host: api.hostname, port: api.port, protocol: 'http'})) {
  sync.stripe._setApiField(name, value);
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    try {
      await sync.webhook.processWebhook(Buffer.concat(chunks), request.headers['stripe-signature']);
      response.writeHead(200);
      response.end();
    } catch (error) {
      response.writeHead(500);
      response.end(`${error.type || error.name}: ${error.message}`);
    }
  });
});
server.listen(Number(port), '127.0.0.1');
