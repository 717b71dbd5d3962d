-- Every process hears at once which keys sign and verify (00022): "key <kid>" on the same channel.
create trigger signing_keys_changed after insert or update or delete on signing_keys for each row
    execute function access_changed('key', 'kid');
