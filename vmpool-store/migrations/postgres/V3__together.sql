-- Batches that are nothing but changes of what is there, as nearly all are, in
-- a statement a table instead of some a row.

-- Room beside a row for its next version: the change stays on the row's page,
-- and no index has to follow it.
ALTER TABLE orders SET (fillfactor = 50);
ALTER TABLE machines SET (fillfactor = 50);
ALTER TABLE stages SET (fillfactor = 50);
ALTER TABLE steps SET (fillfactor = 50);
ALTER TABLE pools SET (fillfactor = 25);
ALTER TABLE tail SET (fillfactor = 25);

-- As before, but who raises a term stands in the writers' line too: a writer
-- that has its turn may read the pool's row without locking it.
CREATE OR REPLACE FUNCTION raise_term(of_pool text, at_least bigint) RETURNS bigint
LANGUAGE sql AS $$
    -- A change and not a lock alone: under any isolation a writer that began
    -- before is told of it.
    UPDATE tail SET last_event = last_event;
    INSERT INTO pools (name, term) VALUES (of_pool, greatest(1, at_least))
    ON CONFLICT (name) DO UPDATE SET term = greatest(pools.term + 1, at_least)
    RETURNING term
$$;

CREATE OR REPLACE FUNCTION take_pool(
    of_pool text, by_runner text, at_url text, lease_ms bigint, at_least bigint)
RETURNS TABLE (is_ours boolean, in_term bigint, has_runner text, has_url text, has_ms bigint)
LANGUAGE plpgsql AS $$
DECLARE
    held pools;
BEGIN
    -- Before the pool's row, as every writer does.
    PERFORM FROM tail FOR UPDATE;
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

-- Writes all batches, or fails and writes none of them: then write_batches
-- finds out which is refused, and why. The pools' terms must be there already;
-- orders, new machines and limits are for write_batches.
--
-- Plans are made once and go by the indexes, however little the tables held
-- when they were made.
CREATE FUNCTION write_together(
    of_pools text[], of_terms bigint[],
    row_kinds text[], row_ids text[], row_steps text[], row_pools text[], row_versions bigint[],
    row_slots integer[], row_over boolean[], row_times bigint[], row_texts text[],
    event_times bigint[], event_kinds text[], event_ids text[], event_steps text[],
    event_versions bigint[], event_whats text[], event_causes text[])
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    told    bigint;
    changed bigint;
    written bigint := 0;
BEGIN
    UPDATE tail SET last_event = last_event + cardinality(event_ids)
    RETURNING last_event - cardinality(event_ids) INTO STRICT told;
    SELECT count(*) INTO changed
    FROM unnest(of_pools, of_terms) AS ruled (name, term) JOIN pools USING (name, term);
    IF changed < cardinality(of_pools) THEN
        RAISE serialization_failure USING MESSAGE = 'a pool is ruled under another term';
    END IF;

    IF 'machine' = ANY (row_kinds) THEN
        UPDATE machines
        SET pool = made.pool, version = made.version, slots = made.slots,
            is_over = made.is_over, changed_at = made.at, row = made.row
        FROM unnest(row_kinds, row_ids, row_pools, row_versions, row_slots, row_over, row_times,
                    row_texts)
             AS made (kind, id, pool, version, slots, is_over, at, row)
        WHERE made.kind = 'machine' AND machines.id = made.id
          AND machines.version = made.version - 1;
        GET DIAGNOSTICS changed = ROW_COUNT;
        written := written + changed;
    END IF;
    IF 'stage' = ANY (row_kinds) THEN
        INSERT INTO stages (id, pool, version, is_over, changed_at, row)
        SELECT id, pool, version, is_over, at, row
        FROM unnest(row_kinds, row_ids, row_pools, row_versions, row_over, row_times, row_texts)
             AS made (kind, id, pool, version, is_over, at, row)
        WHERE kind = 'stage' AND version = 1
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS changed = ROW_COUNT;
        written := written + changed;
        UPDATE stages
        SET pool = made.pool, version = made.version, is_over = made.is_over,
            changed_at = made.at, row = made.row
        FROM unnest(row_kinds, row_ids, row_pools, row_versions, row_over, row_times, row_texts)
             AS made (kind, id, pool, version, is_over, at, row)
        WHERE made.kind = 'stage' AND made.version > 1 AND stages.id = made.id
          AND stages.version = made.version - 1;
        GET DIAGNOSTICS changed = ROW_COUNT;
        written := written + changed;
    END IF;
    IF 'step' = ANY (row_kinds) THEN
        INSERT INTO steps (stage, id, version, changed_at, row)
        SELECT stage, id, version, at, row
        FROM unnest(row_kinds, row_ids, row_steps, row_versions, row_times, row_texts)
             AS made (kind, stage, id, version, at, row)
        WHERE kind = 'step' AND version = 1
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS changed = ROW_COUNT;
        written := written + changed;
        UPDATE steps
        SET version = made.version, changed_at = made.at, row = made.row
        FROM unnest(row_kinds, row_ids, row_steps, row_versions, row_times, row_texts)
             AS made (kind, stage, id, version, at, row)
        WHERE made.kind = 'step' AND made.version > 1
          AND steps.stage = made.stage AND steps.id = made.id
          AND steps.version = made.version - 1;
        GET DIAGNOSTICS changed = ROW_COUNT;
        written := written + changed;
    END IF;
    IF written < cardinality(row_ids) THEN
        RAISE serialization_failure USING MESSAGE = 'a row has another version';
    END IF;

    INSERT INTO events (seq, at, kind, id, step, version, what, cause)
    SELECT told + place, at, kind, id, step, version, what, cause
    FROM unnest(event_times, event_kinds, event_ids, event_steps, event_versions, event_whats,
                event_causes)
         WITH ORDINALITY AS made (at, kind, id, step, version, what, cause, place);
END $$;
