/* Kinfolk: multiprocessing for C. Includes every public header of the library. */
#ifndef KINFOLK_H
#define KINFOLK_H

#include <kinfolk/base.h>
#include <kinfolk/barrier.h>
#include <kinfolk/condition.h>
#include <kinfolk/connection.h>
#include <kinfolk/context.h>
#include <kinfolk/cpu.h>
#include <kinfolk/event.h>
#include <kinfolk/dict.h>
#include <kinfolk/future.h>
#include <kinfolk/list.h>
#include <kinfolk/lock.h>
#include <kinfolk/listener.h>
#include <kinfolk/memory.h>
#include <kinfolk/pipe.h>
#include <kinfolk/placement.h>
#include <kinfolk/pool.h>
#include <kinfolk/process.h>
#include <kinfolk/queue.h>
#include <kinfolk/segment.h>
#include <kinfolk/semaphore.h>
#include <kinfolk/value.h>
#include <kinfolk/wait.h>

#endif
