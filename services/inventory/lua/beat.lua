-- Shows that this server takes writes, and thereby which server it is: the text of this script was
-- made for it.
--
-- KEYS  1 the beat's own key. ARGV none.
-- Reply BEAT
call('SET', KEYS[1], NOW, 'PX', 10000)
return { 'BEAT', NOW }
