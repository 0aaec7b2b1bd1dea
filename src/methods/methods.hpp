// Every method, by name. Private to src/methods: others ask the table.
#pragma once

#include "winnow/methods/method.hpp"

namespace winnow::methods {

extern const Method kUpdateNorm;
extern const Method kSpectral;
extern const Method kConcentration;
extern const Method kAblation;
extern const Method kOverlap;
extern const Method kOverlapRight;
extern const Method kIntruders;
extern const Method kRelativeNorm;
extern const Method kWeightCosine;
extern const Method kProbe;
extern const Method kBank;
extern const Method kSafeLora;
extern const Method kAlignment;
extern const Method kSubspaceEnergy;
extern const Method kInputEnergy;
extern const Method kSubspaceRemoved;
extern const Method kLox;
extern const Method kPassDiscrepancy;
extern const Method kEntries;
extern const Method kEdiem;
extern const Method kMisalignment;
extern const Method kEdiemPublishedStd;
extern const Method kDiemTheoretical;
extern const Method kEdiemPublishedIqr;
extern const Method kDiem;

}  // namespace winnow::methods
