// Eigen's singular value decompositions of float64 matrices, compiled once: each takes a compiler half a minute,
// wherever it is used. Not installed: who uses winnow needs no Eigen.
#pragma once

#include <Eigen/SVD>

extern template class Eigen::BDCSVD<Eigen::MatrixXd>;
extern template class Eigen::JacobiSVD<Eigen::MatrixXd>;
