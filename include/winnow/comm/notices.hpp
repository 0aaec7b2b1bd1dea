// What one rank tells the others between two collectives, if it cannot wait for them to listen.
#pragma once

namespace winnow::comm {

/// Of one communicator, which it belongs to. Calls throw Stranded if the library fails.
class Notices {
 public:
  virtual ~Notices() = default;

  // Of a failure: how a rank in trouble stops the others before the next collective.
  virtual void notify_failure() = 0;   ///< tells every peer; again does nothing
  virtual bool peer_failed() = 0;      ///< whether a peer has told; cheap enough to ask for every slab
  virtual void forget_failures() = 0;  ///< collective: consumes what notify_failure() sent, once all have stopped

  // Of a wish to stop: how all ranks learn that they should soon, by themselves, whichever of them was told.
  virtual void request_stop() = 0;    ///< tells every rank; again does nothing
  virtual bool stop_requested() = 0;  ///< whether any has; to be asked often by all, for the coordinator passes it on
  virtual bool forget_stop() = 0;     ///< collective: whether any rank had; consumes it
};

}  // namespace winnow::comm
