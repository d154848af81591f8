"""The commands of ``masterloop``, one file per group. What is slow to import, they import late."""
