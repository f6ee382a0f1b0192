-- Takes the reading of missed events up, unless another instance has it, and says how far it has come. $1 for how long, in ms.
UPDATE provider_comparison
SET leased_until = now() + $1 * interval '1 millisecond'
WHERE leased_until <= now()
RETURNING read_to
