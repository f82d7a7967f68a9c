-- Types that somebody defines for workers, and removes again. A removed type keeps its row: what was performed under
-- its name still tells what it was. Changes the catalogue alone; a server that does not know the column goes on.
ALTER TABLE action_types ADD COLUMN removed_at timestamptz;

-- Removes a type of workers that has no unfinished action. Answers 'removed', or what is in the way.
CREATE FUNCTION remove_action_type(wanted text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
  type_row action_types;
  is_used  bool;
BEGIN
  SELECT * INTO type_row FROM action_types t WHERE t.name = wanted AND t.removed_at IS NULL FOR UPDATE;
  IF type_row.id IS NULL THEN
    RETURN 'unknown';
  END IF;
  IF type_row.performed_by <> 'workers' THEN
    RETURN 'handler';
  END IF;
  -- From here to the commit nothing is queued and nothing leaves the queue: a statement that waits for its lock takes
  -- its snapshot afterwards, and finds no type.
  LOCK TABLE action_queue IN SHARE MODE;
  SELECT EXISTS (SELECT FROM action_queue q WHERE q.type_id = type_row.id AND q.run_at IS NULL)
      OR EXISTS (SELECT FROM action_queue q WHERE q.type_id = type_row.id AND q.run_at IS NOT NULL)
      OR EXISTS (SELECT FROM action_leases l WHERE l.type_id = type_row.id)
    INTO is_used;
  IF is_used THEN
    RETURN 'used';
  END IF;
  UPDATE action_types t SET removed_at = clock_timestamp() WHERE t.id = type_row.id;
  RETURN 'removed';
END
$$;
