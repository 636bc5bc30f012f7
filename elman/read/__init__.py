"""Files to records, in constant memory; splits.  No torch here."""
