"""Reading what data sets are made of: pictures, masks, tables."""
