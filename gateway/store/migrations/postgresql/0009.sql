-- Digests: one delivery takes along those that wait behind it. And marks: when something was last done or told.
--
-- Older gateways go on beside: they leave `digest` alone, and run what waits one by one.
--
-- Locks, as in 0001.sql; a row of `marks` comes after those of deliveries.

ALTER TABLE deliveries ADD COLUMN digest text COLLATE "C";  -- JSON: the numbers of the events that it brings

CREATE TABLE marks (
  name text COLLATE "C" PRIMARY KEY,
  marked_at bigint NOT NULL
);


-- When something was last marked; marks it now where that was so long ago, or never was.
CREATE FUNCTION set_mark(given_now bigint, of_name text, every_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  found bigint;
BEGIN
  INSERT INTO marks AS m (name, marked_at) VALUES (of_name, now_at)
  ON CONFLICT (name) DO UPDATE
  SET marked_at = CASE WHEN m.marked_at + every_ms > now_at THEN m.marked_at ELSE now_at END
  RETURNING m.marked_at INTO found;
  RETURN found;
END
$$;


-- Takes along with a running delivery those that are pending under the same order key. Returns the numbers of the events
-- that it brings, as JSON; or how many milliseconds it has to wait for that; or null where the lease is lost.
CREATE FUNCTION gather_digest(
  given_now bigint, of_id text, of_token text, wait_ms bigint, every_ms bigint, why text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  key text;
  opens_at bigint;
  others bigint[];
  d record;
BEGIN
  SELECT f.order_key INTO key FROM deliveries f WHERE f.id = of_id AND f.token = of_token AND f.state = 'running';
  PERFORM lock_keys(ARRAY[key]);
  SELECT * INTO d FROM deliveries f WHERE f.id = of_id AND f.token = of_token AND f.state = 'running' FOR UPDATE;
  IF d.seq IS NULL THEN
    RETURN NULL;
  END IF;
  IF d.digest IS NOT NULL THEN
    RETURN d.digest;
  END IF;
  opens_at := greatest(
    d.created_at + wait_ms, (SELECT m.marked_at + every_ms FROM marks m WHERE m.name = d.order_key)
  );
  IF opens_at > now_at THEN
    RETURN (opens_at - now_at)::text;
  END IF;
  WITH taken AS (
    UPDATE deliveries f SET state = 'skipped', held = false, reason = why, finished_at = now_at
    WHERE f.order_key = d.order_key AND f.state = 'pending' AND f.digest IS NULL
    RETURNING f.seq, f.event_seq
  )
  SELECT array_agg(t.event_seq ORDER BY t.seq) INTO others FROM taken t;
  UPDATE deliveries f SET digest = to_jsonb(d.event_seq || coalesce(others, '{}'))::text
  WHERE f.seq = d.seq AND f.state = 'running' RETURNING f.digest INTO d.digest;
  PERFORM set_mark(given_now, d.order_key, 0);
  RETURN d.digest;
END
$$;
