/* One hop (agents/relay/relay.py over agents/kafka/copy.py and wire.py), seen on one partition.
 *
 * Upstream tells EVENTS events of two keys; compaction may take away any that a newer one of its
 * key has made old. AGENTS agents of one node copy them, in LIVES lives altogether: a life ends by
 * kill -9 at any step, and another begins at any moment, beside the other agent's. To brokers every
 * opening of a copy is a writer of its own, so a hop that begins again after a failure is another
 * life too; a paused zombie is one that takes no step for long. The last life is left alone: it
 * must bring the copy to what upstream is.
 *
 *   spin -a hop.pml && gcc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *   spin -t -c hop.pml          what was sent and written on the way to an error
 *
 * With -DNO_FENCE, -DNO_LOOK, -DEARLY_MARK or -DCOPY_THINNED the checker must find an error.
 * test_model.py runs all this, and says what was seen in larger runs.
 */

#ifndef EVENTS
#define EVENTS 3	/* at most 7 */
#endif
#ifndef AGENTS
#define AGENTS 2
#endif
#ifndef LIVES
#define LIVES 3
#endif
#ifndef FLIGHT
#define FLIGHT 2	/* batches under way: wire.IN_FLIGHT, at least 2 */
#endif

#define LAST		(LIVES - 1)
#define BIT(id)		(1 << (id))
#define HAS(set, id)	((set) & BIT(id))

mtype = { fence, event, mark };

/* ---- upstream: an event's id is its offset --------------------------------------------------- */

byte told;		/* its end */
byte keys;		/* ids of the second key */
byte gone;		/* ids that compaction has taken; offsets stay */

#define KEY(id)		(HAS(keys, id) != 0)
/* Ids that upstream told after id, of the same key. */
#define NEWER(id)	((KEY(id) -> keys : ~keys) & (BIT(told) - 1) & ~(BIT((id) + 1) - 1))

/* The owner has written on, to this end at least. Decided only when somebody looks, where it begins
 * to matter; so is what compaction has taken. The key of the first event is called the first. */
inline tell(least)
{
	do
	:: told < EVENTS -> told++
	:: told < EVENTS && told -> keys = keys | BIT(told); told++
	:: told >= least -> break
	od
}

/* ---- the copy's partition and its broker ----------------------------------------------------- */

/* What reading back to the last watermark gives: copy.End, with the position it names. */
typedef End {
	byte position;
	byte held;	/* ids after it */
	byte count
};

End copy;		/* as of the log's end */
End below[LIVES];	/* as of each life's fence: what lies below an offset never changes */
byte there;		/* ids anywhere in the log */
byte last[2];		/* each key's last event in it, its id + 1 */
byte fenced;		/* the epoch of its newest fence */
byte epoch;		/* of the last writer to this partition; 0: none yet */

byte started;		/* the coordinator's newest epoch, by InitProducerId; life n has n + 1 */
byte killed;		/* lives */

/* The connection of life n: batches under way, an event's id or a watermark's position, its count.
 * A batch stands for one record: several in one are written or lost together, which is among what
 * may happen to them one by one. */
chan line[LIVES] = [FLIGHT] of { mtype, byte, byte };
bool hole[LIVES];	/* one of its batches was lost: the next sequence number does not follow */
bool refused[LIVES];	/* FencedProducer._failure */
bool written[LIVES];	/* its fence, and it knows */
bool done;

#define RUNS		(!HAS(killed, n) && !refused[n])
/* One more may be sent. Where it must be refused, a second behind it could change nothing. */
#define ROOM		(len(line[n]) < (hole[n] || n + 1 < epoch -> 1 : FLIGHT))

inline append()
{
	assert(n + 1 >= fenced);			/* one writer */
	if
	:: what == fence ->
		fenced = n + 1;
		written[n] = true;
		below[n].position = copy.position;
		below[n].held = copy.held;
		below[n].count = copy.count
	:: what == event ->
		assert(number < told);			/* nothing that was never upstream */
		assert(!HAS(there, number));		/* once */
		assert(number + 1 > last[KEY(number)]);	/* in order */
		there = there | BIT(number);
		last[KEY(number)] = number + 1;
		copy.held = copy.held | BIT(number);
		copy.count++
	:: what == mark ->
		assert(counted == copy.count);		/* Continuity.watermark */
		assert(!((BIT(number) - 1) & ~gone & ~there));	/* complete up to its position */
		copy.position = number;
		copy.held = 0;
		copy.count = 0
	fi
}

/* The way of a life's batches, and what a broker does with each. */
proctype way(byte n)
{
	mtype what;
	byte number, counted;
end:	do
	:: atomic {
		line[n]?what,number,counted ->
		if
		/* Lost with the connection or its process, and the sender may not know for long. With none
		 * behind it yet that is the same as still being on its way. */
		:: n != LAST && !hole[n] && n + 1 >= epoch && len(line[n]) -> hole[n] = true
		/* An older epoch, but only after the newer one's first write here: ProducerFenced. */
		:: n + 1 < epoch -> refused[n] = true
		/* A number that does not follow: OutOfOrderSequence. Where nobody has written any does. */
		:: n + 1 >= epoch && epoch && hole[n] -> refused[n] = true
		:: n + 1 >= epoch && (!epoch || !hole[n]) ->
			epoch = n + 1;
			hole[n] = false;
			append()
		fi;
		assert(!refused[LAST]);
		what = 0; number = 0; counted = 0
	   }
	od
}

/* ---- one life of an agent's hop: Relay.run --------------------------------------------------- */

/* Relay._Lane.passed: has upstream told again everything the copy already held? */
#ifdef EARLY_MARK
#define PASSED		true
#else
#define PASSED		(!held || next >= bound)
#endif

proctype life(byte n)
{
	byte next, bound, held, count, drawn;

	/* Connection.writer. Who asks first is called first, so the numbering is no restriction. Where
	 * all agents were running, one of them was killed and this is what was started instead. */
	atomic {
		started == n -> started++;
		if
		:: n < AGENTS
		:: n >= AGENTS ->
			do
			:: !HAS(killed, next) -> killed = killed | BIT(next); break
			:: (BIT(n) - BIT(next + 1)) & ~killed -> next++
			od;
			next = 0
		fi
	};

	/* Copy._fence: to be written, and answered, before anything is read. */
#ifndef NO_FENCE
	if
	:: atomic { RUNS -> line[n]!fence,0,0 }
	:: !RUNS -> goto over
	fi;
#else
	written[n] = true;
#endif

end_of_a_lost_fence:
	if
	:: !RUNS -> goto over
	:: atomic {
		RUNS && written[n] ->
		/* Copy.look_back, from the fence; anybody may have taken over by now. */
#ifdef NO_FENCE
		below[n].position = copy.position;
		below[n].held = copy.held;
		below[n].count = copy.count;
#endif
		next = below[n].position;
		held = below[n].held;
		count = below[n].count;
		drawn = next;
		written[n] = false; below[n].position = 0; below[n].held = 0; below[n].count = 0;
#ifdef COPY_THINNED
		/* The copy's own compaction was there first. min.compaction.lag.ms keeps it away for a day,
		 * and Relay._out_of_line notices: such a copy is brought in line, not resumed. */
		do
		:: bound < EVENTS && (held & NEWER(bound)) -> held = held & ~BIT(bound); bound++
		:: bound < EVENTS -> bound++
		:: bound == EVENTS -> bound = 0; break
		od;
#endif
#ifdef NO_LOOK
		held = 0;
#endif
		/* Relay._lanes: upstream's end, asked for after that. */
		tell(0);
		bound = (held -> told : 0)
	   }
	fi;

	/* Relay._pump */
end:	do
	/* Relay._open, at the next offset. */
	:: atomic {
		RUNS && next < EVENTS && ROOM ->
		tell(next + 1);
		if
		:: NEWER(next) -> gone = gone | BIT(next)
		:: !HAS(gone, next) ->
			if
			:: HAS(held, next) -> held = held & ~BIT(next)
			:: else -> line[n]!event,next,0; count++
			fi
		fi;
		next++
	   }
	/* Relay._mark, as often as may be: at upstream's watermarks, when overdue, at the end. */
	:: atomic {
		RUNS && next > drawn && ROOM && PASSED ->
#ifndef EARLY_MARK
		held = 0;
#endif
		line[n]!mark,next,count;
		count = 0; drawn = next
	   }
	/* Everything is told, and brokers have it. */
	:: n == LAST && next == EVENTS && empty(line[n]) -> done = true; break
	:: !RUNS -> break
	od;
over:	atomic { next = 0; bound = 0; held = 0; count = 0; drawn = 0 }
}

init
{
	byte n;
	atomic {
		do
		:: n < LIVES -> run way(n); run life(n); n++
		:: else -> n = 0; break
		od
	};
	/* Everything has come to rest, zombies' last batches too. */
	timeout ->
	assert(done);
	do
	:: n < EVENTS ->
		assert(HAS(there, n) || HAS(gone, n));			/* nothing lost */
		assert(NEWER(n) || last[KEY(n)] == n + 1);		/* the same state */
		n++
	:: else -> break
	od
}
