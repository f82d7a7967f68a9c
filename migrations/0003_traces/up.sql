-- To which trace an action belongs, as its request's header traceparent told. Changes the catalogue alone: no row is
-- written or read under the table's lock, and the next migration looks at the rows that are there already.
ALTER TABLE actions
  ADD COLUMN traceparent text,
  ADD CONSTRAINT actions_traceparent_length CHECK (char_length(traceparent) = 55) NOT VALID;
