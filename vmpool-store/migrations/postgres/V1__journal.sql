-- Columns for what is asked for; the rest of a row is JSON. Times are Unix
-- milliseconds, but for leases: those are the database's own.
--
-- Ids sort by their bytes, as they do in the runner.

CREATE TABLE pools (
    name        text COLLATE "C" PRIMARY KEY,
    term        bigint NOT NULL,
    runner      text,
    url         text,
    lease_until timestamptz
);

CREATE TABLE orders (
    id         text COLLATE "C" PRIMARY KEY,
    pool       text NOT NULL,
    version    bigint NOT NULL,
    slots      integer NOT NULL,
    is_over    boolean NOT NULL,
    changed_at bigint NOT NULL,
    row        text NOT NULL,
    -- The rendered request, sealed.
    sealed     bytea NOT NULL
);
CREATE INDEX orders_of_pool ON orders (pool) WHERE NOT is_over;
CREATE INDEX orders_over ON orders (changed_at) WHERE is_over;

CREATE TABLE machines (
    id         text COLLATE "C" PRIMARY KEY,
    pool       text NOT NULL,
    version    bigint NOT NULL,
    slots      integer NOT NULL,
    is_over    boolean NOT NULL,
    changed_at bigint NOT NULL,
    row        text NOT NULL
);
CREATE INDEX machines_of_pool ON machines (pool) WHERE NOT is_over;

CREATE TABLE stages (
    id         text COLLATE "C" PRIMARY KEY,
    pool       text NOT NULL,
    version    bigint NOT NULL,
    is_over    boolean NOT NULL,
    changed_at bigint NOT NULL,
    row        text NOT NULL
);
CREATE INDEX stages_of_pool ON stages (pool) WHERE NOT is_over;
CREATE INDEX stages_over ON stages (changed_at) WHERE is_over;

CREATE TABLE steps (
    -- Steps are listed in the order in which they were first written.
    place      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage      text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    changed_at bigint NOT NULL,
    row        text NOT NULL,
    UNIQUE (stage, id)
);

CREATE TABLE events (
    seq     bigint PRIMARY KEY,
    at      bigint NOT NULL,
    kind    text NOT NULL,
    -- A step's is its stage's.
    id      text COLLATE "C" NOT NULL,
    step    text COLLATE "C",
    version bigint NOT NULL,
    what    text NOT NULL,
    cause   text NOT NULL
);
CREATE INDEX events_of ON events (id, kind);

-- One row. Who changes orders, machines, stages, steps or events holds its
-- lock until its transaction ends: writers stand in one line, and an event's
-- number is seen after all lower ones.
CREATE TABLE tail (
    only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    last_event bigint NOT NULL
);
INSERT INTO tail (last_event) VALUES (0);

-- Writes batches, each whole or not at all, and answers each: null, or why
-- not. An error undoes all of them.
CREATE FUNCTION write_batches(batches jsonb, sealed bytea[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    answers   jsonb := '[]';
    answer    jsonb;
    batch     jsonb;
    change    jsonb;
    place     integer;
    ours      bigint;
    theirs    bigint;
    has_pool  boolean;
    current   bigint;
    occupied  bigint;
    freed     bigint;
    taken     bigint;
    told      bigint;
    told_then bigint;
BEGIN
    SELECT last_event INTO STRICT told FROM tail FOR UPDATE;
    told_then := told;
    FOR batch IN SELECT value FROM jsonb_array_elements(batches) LOOP
        answer := 'null';
        ours := (batch->>'term')::bigint;
        -- Held, so that nobody takes the pool before this is committed.
        SELECT term INTO theirs FROM pools WHERE name = batch->>'pool' FOR UPDATE;
        has_pool := FOUND;
        IF has_pool AND theirs > ours THEN
            answers := answers || jsonb_build_array(jsonb_build_object('fenced', theirs));
            CONTINUE;
        END IF;

        -- Everything is held against the rows before anything is changed.
        freed := 0;
        taken := 0;
        place := 0;
        FOR change IN SELECT value FROM jsonb_array_elements(batch->'rows') LOOP
            current := NULL;
            occupied := 0;
            CASE change->>'kind'
            WHEN 'order' THEN
                SELECT version, slots INTO current, occupied FROM orders WHERE id = change->>'id';
            WHEN 'machine' THEN
                SELECT version, slots INTO current, occupied FROM machines WHERE id = change->>'id';
            WHEN 'stage' THEN
                SELECT version INTO current FROM stages WHERE id = change->>'id';
            WHEN 'step' THEN
                SELECT version INTO current FROM steps
                WHERE stage = change->>'id' AND id = change->>'step';
            END CASE;
            IF coalesce(current, 0) + 1 <> (change->>'version')::bigint THEN
                answer := jsonb_build_object('conflict',
                    jsonb_build_object('place', place, 'found', current));
                EXIT;
            END IF;
            freed := freed + coalesce(occupied, 0);
            taken := taken + (change->>'slots')::bigint;
            place := place + 1;
        END LOOP;
        IF answer = 'null' AND batch->>'limit' IS NOT NULL THEN
            SELECT (SELECT coalesce(sum(slots), 0) FROM orders
                    WHERE pool = batch->>'pool' AND NOT is_over)
                 + (SELECT coalesce(sum(slots), 0) FROM machines
                    WHERE pool = batch->>'pool' AND NOT is_over)
                 + taken - freed
            INTO occupied;
            IF occupied > (batch->>'limit')::bigint THEN
                answer := jsonb_build_object('limit', greatest(occupied, 0));
            END IF;
        END IF;
        answers := answers || jsonb_build_array(answer);
        CONTINUE WHEN answer <> 'null';

        IF NOT has_pool THEN
            INSERT INTO pools (name, term) VALUES (batch->>'pool', ours) ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                RAISE serialization_failure USING MESSAGE = 'the pool was just made by another runner';
            END IF;
        ELSIF theirs < ours THEN
            UPDATE pools SET term = ours WHERE name = batch->>'pool';
        END IF;
        FOR change IN SELECT value FROM jsonb_array_elements(batch->'rows') LOOP
            CASE change->>'kind'
            WHEN 'order' THEN
                INSERT INTO orders VALUES (
                    change->>'id', change->>'pool', (change->>'version')::bigint,
                    (change->>'slots')::integer, (change->>'is_over')::boolean,
                    (batch->>'at')::bigint, change->>'row', sealed[(change->>'sealed')::integer])
                ON CONFLICT (id) DO UPDATE SET
                    pool = excluded.pool, version = excluded.version, slots = excluded.slots,
                    is_over = excluded.is_over, changed_at = excluded.changed_at,
                    row = excluded.row, sealed = excluded.sealed;
            WHEN 'machine' THEN
                INSERT INTO machines VALUES (
                    change->>'id', change->>'pool', (change->>'version')::bigint,
                    (change->>'slots')::integer, (change->>'is_over')::boolean,
                    (batch->>'at')::bigint, change->>'row')
                ON CONFLICT (id) DO UPDATE SET
                    pool = excluded.pool, version = excluded.version, slots = excluded.slots,
                    is_over = excluded.is_over, changed_at = excluded.changed_at,
                    row = excluded.row;
            WHEN 'stage' THEN
                INSERT INTO stages VALUES (
                    change->>'id', change->>'pool', (change->>'version')::bigint,
                    (change->>'is_over')::boolean, (batch->>'at')::bigint, change->>'row')
                ON CONFLICT (id) DO UPDATE SET
                    pool = excluded.pool, version = excluded.version,
                    is_over = excluded.is_over, changed_at = excluded.changed_at,
                    row = excluded.row;
            WHEN 'step' THEN
                INSERT INTO steps (stage, id, version, changed_at, row) VALUES (
                    change->>'id', change->>'step', (change->>'version')::bigint,
                    (batch->>'at')::bigint, change->>'row')
                ON CONFLICT (stage, id) DO UPDATE SET
                    version = excluded.version, changed_at = excluded.changed_at,
                    row = excluded.row;
            END CASE;
        END LOOP;
        INSERT INTO events (seq, at, kind, id, step, version, what, cause)
        SELECT told + place_of, (batch->>'at')::bigint, event->>'kind', event->>'id',
               event->>'step', (event->>'version')::bigint, event->>'what', event->>'cause'
        FROM jsonb_array_elements(batch->'events') WITH ORDINALITY AS of_batch (event, place_of);
        told := told + jsonb_array_length(batch->'events');
    END LOOP;
    IF told > told_then THEN
        UPDATE tail SET last_event = told;
    END IF;
    RETURN answers;
END $$;

-- Raises a pool's term and gives it.
CREATE FUNCTION raise_term(of_pool text, at_least bigint) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO pools (name, term) VALUES (of_pool, greatest(1, at_least))
    ON CONFLICT (name) DO UPDATE SET term = greatest(pools.term + 1, at_least)
    RETURNING term
$$;

-- How long a lease lasts yet, by the database's clock.
CREATE FUNCTION ms_left(until timestamptz) RETURNS bigint
LANGUAGE sql AS $$
    SELECT coalesce(greatest(0, ceil(extract(epoch FROM until - clock_timestamp()) * 1000)), 0)::bigint
$$;

-- Takes a pool, if it is free or that runner's already. Not taken: who has it.
CREATE FUNCTION take_pool(of_pool text, by_runner text, at_url text, lease_ms bigint, at_least bigint)
RETURNS TABLE (is_ours boolean, in_term bigint, has_runner text, has_url text, has_ms bigint)
LANGUAGE plpgsql AS $$
DECLARE
    held pools;
BEGIN
    SELECT * INTO held FROM pools WHERE name = of_pool FOR UPDATE;
    IF held.lease_until > clock_timestamp() AND held.runner <> by_runner THEN
        RETURN QUERY SELECT false, held.term, held.runner, held.url, ms_left(held.lease_until);
        RETURN;
    END IF;
    in_term := raise_term(of_pool, at_least);
    -- Where there was no row to lock, another may have made it: its own then.
    UPDATE pools
    SET runner = by_runner, url = at_url,
        lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
    WHERE name = of_pool
      AND (lease_until IS NULL OR lease_until <= clock_timestamp() OR runner = by_runner);
    IF NOT FOUND THEN
        RAISE serialization_failure USING MESSAGE = 'the pool was just taken by another runner';
    END IF;
    RETURN QUERY SELECT true, in_term, by_runner, at_url, lease_ms;
END $$;

-- One step of a compaction: events below a number, and what was over before a
-- moment. As long as it removes anything there may be more.
CREATE FUNCTION compact(events_below bigint, ended_before bigint, at_once integer)
RETURNS TABLE (events_gone bigint, rows_gone bigint)
LANGUAGE plpgsql AS $$
DECLARE
    gone  bigint;
    ids   text[];
BEGIN
    PERFORM FROM tail FOR UPDATE;
    DELETE FROM events WHERE seq IN (
        SELECT seq FROM events WHERE seq < events_below ORDER BY seq LIMIT at_once);
    GET DIAGNOSTICS events_gone = ROW_COUNT;
    DELETE FROM orders WHERE id IN (
        SELECT id FROM orders WHERE is_over AND changed_at < ended_before LIMIT at_once);
    GET DIAGNOSTICS rows_gone = ROW_COUNT;
    -- A stage whose steps were written of later is kept for them.
    SELECT array_agg(id) INTO ids FROM (
        SELECT id FROM stages WHERE is_over AND changed_at < ended_before AND NOT EXISTS (
            SELECT FROM steps WHERE stage = stages.id AND steps.changed_at >= ended_before)
        LIMIT at_once) AS ended;
    DELETE FROM steps WHERE stage = ANY (ids);
    GET DIAGNOSTICS gone = ROW_COUNT;
    rows_gone := rows_gone + gone;
    DELETE FROM stages WHERE id = ANY (ids);
    GET DIAGNOSTICS gone = ROW_COUNT;
    rows_gone := rows_gone + gone;
    RETURN NEXT;
END $$;
