"""What is measured: one file for each kind of workload; `catalogue.py` lists them."""
