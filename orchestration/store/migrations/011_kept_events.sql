-- The runs that have ended and whose events are kept: their number is how much there is to forget.
CREATE INDEX runs_with_events ON runs (updated_at)
    WHERE resumable AND NOT ephemeral AND status NOT IN ('pending', 'running');
