SELECT dead_letter_id FROM dead_letters WHERE resolved_at IS NULL AND review_by <= now() ORDER BY review_by, dead_letter_id LIMIT $1
