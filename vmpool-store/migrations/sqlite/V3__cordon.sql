-- What a person has said of a pool: that it takes no new stages. JSON.
ALTER TABLE pools ADD COLUMN cordon TEXT;
