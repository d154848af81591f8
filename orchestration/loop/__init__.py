"""The core: queue, scheduler, workers, the state of a run. It knows no web, no SQL, no exporter."""
